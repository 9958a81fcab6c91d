"""The nouns of made-up documents."""

from lav2.text.dates import DAYS as DAYS
from lav2.text.dates import MONTHS as MONTHS


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.replace("\n", " ").split(",") if part.strip())


FOOD = _split("""
milk, bread, butter, eggs, apples, bananas, oranges, grapes, pears, lemons, limes, tomatoes, potatoes, onions, carrots,
garlic, spinach, lettuce, cucumber, mushrooms, bell peppers, rice, pasta, noodles, flour, sugar, salt, honey, jam,
peanut butter, olive oil, vinegar, yoghurt, cheddar, mozzarella, cream cheese, ham, bacon, chicken breast, ground beef,
salmon, tuna, shrimp, tofu, beans, lentils, chickpeas, cereal, oatmeal, granola, crackers, cookies, chocolate bar, crisps,
popcorn, ice cream, frozen peas, ketchup, mustard, mayonnaise, salsa, soup, broth, tea bags, ground coffee, cocoa,
orange juice, apple juice, sparkling water, mineral water, cola, lemonade, red wine, white wine, beer, cider, croissant,
bagels, baguette, rye bread, muffins, scones, walnuts, almonds, raisins, strawberries, blueberries, mango, pineapple,
watermelon, avocado, sweet corn, pumpkin, cabbage, parsley, basil, cat food, dog food, paper towels, toilet paper, soap,
shampoo, toothpaste, light bulb, batteries, napkins, foil, sponge, detergent, plastic bag, chewing gum, magazine
""")
DISHES = _split("""
espresso, double espresso, americano, cappuccino, latte, flat white, macchiato, mocha, cortado, filter coffee, iced coffee,
hot chocolate, chai latte, green tea, earl grey, mint tea, fresh juice, smoothie, milkshake, lemonade, house wine,
draft beer, still water, carrot cake, cheesecake, apple pie, brownie, tiramisu, pancakes, waffles, french toast, omelette,
porridge, caesar salad, greek salad, garden salad, tomato soup, onion soup, clam chowder, club sandwich, grilled cheese,
cheeseburger, veggie burger, fish and chips, fried chicken, chicken wings, margherita, pepperoni pizza, lasagna,
spaghetti carbonara, penne arrabbiata, mushroom risotto, pad thai, ramen, sushi set, dumplings, spring rolls, fried rice,
green curry, butter chicken, naan, tacos, burrito, nachos, quesadilla, falafel, hummus, kebab, gyros, paella, steak frites,
roast beef, lamb chops, grilled salmon, shrimp cocktail, oysters, crab cakes, garlic bread, french fries, onion rings,
coleslaw, mashed potatoes, house special, soup of the day, kids menu, fruit salad, sorbet, creme brulee, donut, muffin,
croissant, scone, bagel, toast, bibimbap, kimchi stew, bulgogi, tteokbokki
""")
GOODS = _split("""
pens, pencils, stapler, paper clips, notebook, ruler, eraser, scissors, glue stick, tape, folder, envelope, stamps,
calculator, printer paper, ink cartridge, desk lamp, office chair, desk, bookshelf, monitor, keyboard, mouse, headset,
webcam, laptop, tablet, phone case, charger, usb cable, memory card, hard drive, router, speaker, microphone, camera,
tripod, backpack, umbrella, water bottle, lunch box, mug, plate, bowl, fork, spoon, kettle, toaster, blender, frying pan,
knife set, cutting board, towel, pillow, blanket, curtain, rug, candle, vase, picture frame, mirror, clock, hammer,
screwdriver, drill, nails, screws, saw, pliers, wrench, ladder, paint, brush, sandpaper, garden hose, shovel, rake, seeds,
plant pot, fertiliser, t-shirt, jeans, jacket, sweater, dress, skirt, socks, shoes, boots, sandals, hat, cap, scarf,
gloves, belt, wallet, watch, ring, necklace, earrings, sunglasses, bicycle, helmet, pump, lock, tent, sleeping bag, torch,
rope, football, basketball, tennis balls, racket, skateboard, puzzle, board game, doll, toy car, kite, yarn, guitar, drum,
tea pot, pizza slice, sofa, armchair, wardrobe, mattress, heater, fan, vacuum cleaner, iron, hair dryer, razor
""")
SERVICES = _split("""
haircut, beard trim, hair colour, manicure, massage, facial, oil change, tyre change, car wash, brake check, inspection,
towing, battery replacement, key copy, shoe repair, dry cleaning, ironing, alterations, screen repair, data recovery,
virus removal, printing, scanning, passport photo, laminating, translation, tax return, consultation, teeth cleaning,
filling, check-up, x-ray, eye test, vaccination, yoga class, swimming lesson, guitar lesson, language course, day pass,
monthly pass, annual pass, locker rental, ski rental, bike rental, boat trip, guided tour, audio guide, parking, late fee,
delivery, installation, labour, call-out fee, design work, hosting, domain, licence, maintenance, training, support,
painting, tiling, plumbing, window cleaning, garden work, moving, storage, catering, room hire, breakfast, extra bed,
city tax, minibar, laundry, airport transfer, adult ticket, child ticket, student ticket, senior ticket, family ticket
""")
PLACES = _split("""
Downtown, Airport, Central Station, University, City Hall, Harbour, Old Town, Market Square, North Park, South Gate,
Riverside, Hospital, Stadium, Museum, Zoo, Beach, Main Street, Victoria, Waterloo, King's Cross, Union Square, Castle Hill,
Green Lake, West End, Eastwood, Oakville, Springfield, Greenwich, Cambridge, Oxford, Bristol, Leeds, York, Dublin, Boston,
Chicago, Denver, Seattle, Portland, Austin, Dallas, Toronto, Montreal, Vancouver, Ottawa, Paris, Lyon, Berlin, Hamburg,
Munich, Vienna, Zurich, Geneva, Milan, Rome, Madrid, Lisbon, Brussels, Amsterdam, Oslo, Helsinki, Prague, Warsaw, Athens,
Istanbul, Dubai, Mumbai, Delhi, Singapore, Bangkok, Seoul, Busan, Tokyo, Osaka, Sydney, Melbourne, Auckland
""")
SHOPS = _split("""
corner store, green market, city bakery, book nook, daily grind, sunny cafe, the coffee house, river deli, fresh mart,
super saver, village grocery, golden dragon, blue moon diner, red lion, the old mill, sweet tooth, pet palace, garden centre,
hardware hub, office world, paper & pen, the tea room, happy noodles, pizza corner, burger barn, taco town, sushi bar,
star pharmacy, health plus, fit club, hair studio, shoe box, toy land, music box, photo point, bike works, auto service,
quick print, clean & dry, flower power, wine cellar, cheese shop, butcher & sons, fish market, farm shop, kiosk 24, mini mart,
hotel astoria, harbour inn, ocean view, mountain lodge, grand cinema, art gallery, city museum, public library, post office,
dental clinic, family practice, animal hospital, eye care, travel desk, bank of nova, copy shop, phone doctor, second hand
""")
SHOP_KINDS = _split("""
bakery, butcher, pharmacy, bookshop, barber shop, hair salon, florist, hardware store, pet shop, toy shop, shoe shop,
jewellery, laundry, cafe, restaurant, pizzeria, bar, pub, hotel, hostel, supermarket, grocery, kiosk, bank, post office,
library, museum, theatre, cinema, gym, dentist, clinic, hospital, school, garage, petrol station, bike shop, music shop,
wine shop, fish market, ice cream parlour, tea house, tattoo studio, photo studio, optician, tailor, gift shop, deli
""")
SLOGANS = _split("""
fresh bread daily, open all year, best in town, since 1952, free delivery, ask inside, cash only, no cash please, ring the bell,
family owned, hand made, buy one get one free, happy hour 5 - 7, live music tonight, now hiring, under new management,
please wait to be seated, two for one, all day breakfast, organic & local, open late, no reservations, take away,
wifi inside, dogs welcome, sale ends sunday, grand opening, new arrivals, final reductions, members only
""")
NOTICES = _split("""
no parking, no smoking, no entry, keep out, private property, wet floor, mind the step, mind the gap, please knock, out of order,
do not touch, no swimming, no fishing, beware of the dog, staff only, authorised personnel only, fire exit, emergency exit,
keep door closed, push, pull, please queue here, pay here, tow away zone, loading zone, dead end, road closed, detour, one way,
speed limit 30, slow children, school zone, hard hat area, high voltage, danger deep water, no dogs allowed, no food or drinks,
please be quiet, switch off phones, cctv in operation, no photography, keep off the grass, no cycling, quiet coach, lift out of order
""")
EVENTS = _split("""
jazz concert, summer festival, book reading, open day, art exhibition, farmers market, charity run, film night, quiz night,
comedy show, opera gala, school play, flea market, food fair, yoga workshop, photo walk, science lecture, town meeting,
christmas market, wine tasting, dance party, chess tournament, football match, pottery class, job fair, guided tour, blood drive,
parents evening, garden party, street parade, piano recital, poetry slam, board meeting, team meeting, staff training
""")
STREETS = _split("""
Main Street, High Street, Church Road, Park Avenue, Oak Lane, Maple Drive, Station Road, Mill Lane, Orchard Road, Bridge Street,
King Street, Queen Street, River Road, Lake View, Hill Road, Garden Street, Market Street, School Lane, Victoria Road, Elm Street,
Cedar Avenue, Pine Street, Sunset Boulevard, North Road, West Street, Harbour Road, Castle Street, Abbey Road, Spring Gardens
""")
ERRORS = _split("""
file not found, access denied, the parameter is incorrect, connection timed out, disk full, out of memory, network unreachable,
invalid password, the device is not ready, printer is offline, update failed, session expired, unknown host, permission denied,
the server did not respond, certificate has expired, no signal, low battery, paper jam, the file is damaged, login failed,
payment declined, card not accepted, sync failed, backup incomplete, driver is missing, the operation was cancelled
""")
